"""What boards are made of: panels, layout, links, variables, annotations, and the series that panels read."""
