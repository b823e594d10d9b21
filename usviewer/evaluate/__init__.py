"""What ``usviewer evaluate`` is made of: verdicts on single frames, figures in sum, files and the results page."""
