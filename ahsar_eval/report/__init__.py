"""One page that tells everything of networks: what was found, as a single file of HTML beside the
same numbers as JSON.

`run` asks and measures, `content` makes the numbers of each section and `verdict` its words,
`samples` finds what is shown as pictures, `charts` draws, `views` answers what the template asks,
`page` is the file.
"""

import sys

from ahsar_eval import CalledFolder

sys.modules[__name__].__class__ = CalledFolder  # `ahsar_eval.report(…)` is the verb
