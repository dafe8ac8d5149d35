"""Amazon SQS: the profiles ``sqs-standard`` and ``sqs-fifo``."""
