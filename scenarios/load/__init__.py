"""Load processes: their messages, schedules, commands and controller."""
