"""The media room: facts about originals, and renditions of them.

Originals are only read, and every foreign program that reads one sees that one file and nothing else. Start at
``port`` (what the rest of the agent uses), ``plan`` (what is made of what) and ``sandbox`` (how it is run).
"""
