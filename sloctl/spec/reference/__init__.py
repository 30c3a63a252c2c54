"""What is told of the SLO file: the reference page, the JSON Schema, the codes of problems, the starter file.

All of it is made from the sections' own tables, so that it cannot disagree with the loader.
"""
