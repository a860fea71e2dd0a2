"""Give new files one date, so that equal content makes an equal layer of an image, whenever it is built.

date_files.py FOLDER [FILE]    files that are newer than FILE; without it, all that are newer than the date
"""

import os
import sys
from pathlib import Path

DATE = 315_532_800  # 1980-01-01, the oldest date of a wheel

top = Path(sys.argv[1])
since = Path(sys.argv[2]).stat().st_mtime if len(sys.argv) > 2 else DATE
for folder, folders, files in os.walk(top):
    here = Path(folder)
    folders[:] = [name for name in folders if (here / name).lstat().st_dev == top.stat().st_dev]
    for path in (here, *(here / name for name in (*folders, *files))):
        if path.lstat().st_mtime > since:
            os.utime(path, (DATE, DATE), follow_symlinks=False)
