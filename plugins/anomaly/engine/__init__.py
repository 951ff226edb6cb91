"""One vectorised engine over all series: what it knows of them lies in arrays, one row to a series."""
