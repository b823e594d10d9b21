"""When motion from one frame to the next can be trusted, and how fast a vessel can change its size."""

# Below this correlation with the frame before, the neighbourhood is another picture: a cut, another plane.
# Frames of one clip gave 0.6 to 1, cuts -0.2 to 0.35.
LEAST_APPEARANCE = 0.4
# Of the points; with fewer the motion is a guess.
LEAST_SHARE = 0.2

# A healthy or dilated artery changes its area by 5 to 25 % within a beat, a vein by 20 to 60 % within a breath or a
# sniff, and most of that shows as motion, too. Of true outlines (phantoms of 15 to 60 mm with up to 3 mm of pulsation,
# 90 frames of the aortic sweep) the area grew by at most 1.17 and fell by at most 1.42 beyond what motion says
# within half a second, and by 1.47 and 1.42 at all. A vein of a real clip that leaked grew by 1.34 within 0.05 s and
# by 1.85 within 0.25 s, while the picture stood still; a faint structure by 4.6 within 0.5 s.
MOST_GROWTH, MOST_LOSS = 1.3, 1.7  # beyond what motion says
MOST_GROWTH_AT_ALL, MOST_LOSS_AT_ALL = 1.7, 2.5  # a vein that is compressed collapses faster than any vessel fills
