"""``execution-agent halts``: which venues are halted; a person halts and resumes them."""
