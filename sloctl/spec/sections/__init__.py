"""One module per section of the SLO file: its keys, the part of the model that they fill, and the rules beside them.

A section reads from top to bottom: the table of its keys, what depends on other sections, then the rules across keys.
What holds for every file is in ``fields``; what a value means to PromQL, dashboards or jobs is not known here.
"""
