"""The kinds of fields that sections are declared with: scalars, quantities, containers, expressions, and their checks.

A kind reads a value, says what is wrong with it and where, gives its JSON Schema, and builds what the model holds of
it. It must not know which section it stands in.
"""
