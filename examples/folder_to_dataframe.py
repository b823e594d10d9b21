"""Measure every clip and picture in a folder, as one table with a row for each frame.

``python examples/folder_to_dataframe.py FOLDER TABLE.csv``; it needs pandas: ``pip install 'usviewer[examples]'``.
"""

import sys
from pathlib import Path

import pandas as pd

import usviewer

folder, table = Path(sys.argv[1]), Path(sys.argv[2])
model = usviewer.load_model("aorta")  # once for all clips
rows = []
for path in sorted(folder.iterdir()):
    try:
        results = usviewer.analyze(path, model)
        # The columns are those of readings.csv (docs/files.md). A picture is not kept longer than its frame.
        rows += [{"clip": path.name, **usviewer.reading_row(result.reading)} for result in results]
    except usviewer.UserError as error:  # the other clips do not pay for it
        print(f"{path.name}: {error}", file=sys.stderr)

if not rows:
    sys.exit("No frame could be read")

frames = pd.DataFrame(rows)
frames.to_csv(table, index=False)
# A column without a value has no type of its own. Pixels and millimetres never come into one median.
diameters = frames[["ap_diameter_mm", "ap_diameter_px"]].astype(float)
print(diameters.groupby(frames["clip"]).agg(["count", "median", "max"]))
