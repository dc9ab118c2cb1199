"""S3, Lambda and Glue on one machine, on moto's server. Disposable: uploads and results live as long as the process."""
