"""The page and the pictures of a run, made from its records only.

Nothing here sees live objects; whatever record is missing is left out.
Read `page.py` first, then `templates/page.html`, `words.py`, `charts.py` and `pictures.py`.
"""

from coview.pages.figures import write_figures, write_study_figure
from coview.pages.page import write_page
from coview.pages.records import Records, read_records

__all__ = ["Records", "read_records", "write_figures", "write_page", "write_study_figure"]
