create database skymill;
