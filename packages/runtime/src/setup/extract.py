"""Extracts the members of a wheel whose names begin with given prefixes: extract.py WHEEL FOLDER PREFIX...

Prints how many bytes are written so far, a line every 8 MB. A full disk exits with 28, the number of ENOSPC.
"""

import errno
import os
import sys
import zipfile

wheel, folder, *prefixes = sys.argv[1:]
written, printed = 0, 0
try:
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if member.is_dir() or not member.filename.startswith(tuple(prefixes)):
                continue
            path = os.path.join(folder, member.filename)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with archive.open(member) as source, open(path, "wb") as target:
                while chunk := source.read(1 << 20):
                    target.write(chunk)
                    written += len(chunk)
                    if written - printed > 8 << 20:
                        printed = written
                        print(written, flush=True)
except OSError as error:
    print(error, file=sys.stderr)
    sys.exit(28 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 1)
