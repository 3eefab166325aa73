-- Run once by the postgres image, on an empty volume: the role that Rapport works as (no superuser) and its database.
\set password `cat /run/secrets/database-password`
CREATE ROLE rapport LOGIN PASSWORD :'password';
CREATE DATABASE rapport OWNER rapport;
