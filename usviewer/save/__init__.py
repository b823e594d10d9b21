"""Writing results, pictures, recordings and the user's work to files."""
