"""What a prediction amounts to: named measurements with their convention, plane and quality."""
