"""What the three programs share: the frame of `main`, exit codes, arguments, spelling."""
