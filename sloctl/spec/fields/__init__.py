"""The kinds of fields that sections are declared with: scalars, quantities, containers, expressions, and their checks.

A kind reads a value, says what is wrong with it and where, and gives its JSON Schema. It must not know which section
it stands in.
"""
