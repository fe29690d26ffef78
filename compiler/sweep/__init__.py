"""Search of recipes: what is tried, how it is judged, and the study that many workers share."""
