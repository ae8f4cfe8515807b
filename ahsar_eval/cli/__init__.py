"""The command line: each file parses one command, calls the package and hands the result to a
report.
"""
