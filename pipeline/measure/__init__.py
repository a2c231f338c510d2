"""How fast, how late, at what cost, and what limits it?"""
