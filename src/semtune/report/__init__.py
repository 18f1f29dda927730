"""Tables, figures and the HTML page of a study, from its records alone: nothing here runs, loads or scores anything."""
