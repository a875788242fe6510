"""How fast a model runs, what bounds it, what memory it takes, and where a token's time goes.

Nothing here is imported by who only runs a model.
"""
