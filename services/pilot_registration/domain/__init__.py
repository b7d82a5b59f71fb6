"""What pilot_registration is about; one aggregate a file."""
