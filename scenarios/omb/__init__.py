"""Files of the OpenMessaging Benchmark: workloads and drivers in, results out."""
