"""Which pixels are ultrasound, and how large one is."""
