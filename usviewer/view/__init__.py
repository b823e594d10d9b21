"""What is seen. Qt from here."""
