-- The postgres image runs this once, on an empty volume: it creates Rapport's role (no superuser) and its database.
\set password `cat /run/secrets/database-password`
CREATE ROLE rapport LOGIN PASSWORD :'password';
CREATE DATABASE rapport OWNER rapport;
