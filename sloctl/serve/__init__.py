"""The live pages: what they show and how fresh it is, who may see them, what they ask of servers for readers.

Everything here is read only, and shows what others found: a report, its history, where failures begin. It must not know
how these are found, nor how a page is drawn. Starlette, which may be missing, is imported here alone.
"""
