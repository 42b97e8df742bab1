"""Example DAGs; copy one into the DAG folder."""
