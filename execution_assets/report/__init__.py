"""The report of a day: one HTML page that needs nothing else, for people who would rather look than query.

``facts`` reads what is known of the day, ``figures`` makes of it what is shown (pure, exact), ``words`` says it,
``drawing`` draws the pictures, ``page`` puts them together, ``writing`` keeps the file. The same facts are the
same bytes. Matplotlib and Jinja are imported when a page is made, never when the definitions load.
"""
