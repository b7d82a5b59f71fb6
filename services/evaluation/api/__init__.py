"""The HTTP doors of evaluation: subjects and indicators, closures, assessments, scorecards."""
