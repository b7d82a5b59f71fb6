"""The people's doors: the `liandong` command line, a mere client of the services' HTTP doors.

Owns nothing, hears nothing, says nothing. `liandong dev` is assembled from `deploy.local`, which runs the stack.
"""
