-- Meaning of the PDF.
comment on column {relation}.pdf is {meaning};
