"""The parts of ``usviewer evaluate``: verdicts on single frames, figures over all of them, files and a results page."""
