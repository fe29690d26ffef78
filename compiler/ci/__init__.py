"""Models times targets: build, check, measure, judge, publish."""
