"""Files: text tables and workbooks, atomic writes, files elsewhere. Nothing here knows a study."""
