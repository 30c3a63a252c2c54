"""The budget report: its data, its JSON form (an interface), and how people read it: Markdown and one HTML page.

Where numbers come from is for jobs to know. Nothing here asks a server or reads a clock.
"""
