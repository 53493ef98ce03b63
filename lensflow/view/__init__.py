"""The page of ``lensflow view``: a model of rows, filters, bins and tags without a browser, and its face in bokeh."""
