"""One module per section of the SLO file: the table of its keys, and how its values become the model.

What holds for every file is in ``fields``; what a value means to PromQL, dashboards or jobs is not known here.
"""
