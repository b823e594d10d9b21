"""Measure the aorta in a clip: ``python examples/measure_clip.py resources/sample.mp4 0.2572``."""

import sys

import usviewer

clip, mm_per_pixel = sys.argv[1], float(sys.argv[2])
readings = [result.reading for result in usviewer.analyze(clip, mm_per_pixel=mm_per_pixel)]
measured = sum(reading.status is usviewer.Status.MEASURED for reading in readings)
print(f"{measured} of {len(readings)} frames measured")
summary = usviewer.summarize(readings)
if summary is not None:
    print(f"{summary.name}: median {summary.median:.1f}, maximum {summary.maximum:.1f} {summary.unit_field}")
    if summary.known_interval is not None:
        print("95 % interval of the median: {:.1f} to {:.1f}".format(*summary.known_interval))
print(usviewer.RESEARCH_USE)
