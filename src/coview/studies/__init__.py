"""Studies: claims put to the test, as configurations, finished trials and a report.

Read `study` first (what a study is), then any study (`minc_tabular`), then `runner`.
"""

from coview.studies.runner import run_study as run_study
from coview.studies.study import Band as Band
from coview.studies.study import Figure as Figure
from coview.studies.study import Report as Report
from coview.studies.study import Scale as Scale
from coview.studies.study import Study as Study
from coview.studies.study import Table as Table
from coview.studies.study import Trial as Trial
from coview.studies.study import Verdict as Verdict
from coview.studies.table import get as get
from coview.studies.table import names as names
