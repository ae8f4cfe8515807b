"""What other tools would count for the same run: one file per convention, all from recordings
alone.
"""
