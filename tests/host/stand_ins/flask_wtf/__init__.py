"""Stands in for Flask-WTF, which MLflow's basic-auth app imports for the form on its sign-up page alone."""
