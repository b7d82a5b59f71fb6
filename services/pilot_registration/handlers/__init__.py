"""What pilot_registration does when asked, and when evaluation speaks; one class an aggregate."""
