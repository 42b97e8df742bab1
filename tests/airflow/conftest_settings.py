"""How Airflow is set for every test; read when it is imported."""

from __future__ import annotations

SETTINGS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__CORE__FERNET_KEY": "",
    "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "AIRFLOW__CORE__DEFAULT_POOL_TASK_SLOT_COUNT": "16",
    "SCARF_ANALYTICS": "false",
}
