"""What is drawn, as data; and the data drawn into pixels."""
