"""YAML with positions: from the text of files to a tree in which every node knows its file, line and column.

It must not know which keys an SLO file has.
"""
