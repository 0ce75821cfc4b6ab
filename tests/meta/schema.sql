-- A bookshop with one of everything the metadata API describes.
create type public.genre as enum ('novel', 'crime', 'it''s "odd"');
create type public.price as (amount numeric(10, 2), currency text, kinds public.genre[]);
create schema hidden;
create type hidden.mark as enum ('x', 'y z');
create domain public.pages as int check (value > 0);

create table public.author (
  id bigint generated always as identity primary key,
  name text not null,
  born date
);
comment on table public.author is 'Who writes; isn''t paid enough';
create table public.book (
  id uuid primary key default gen_random_uuid(),
  author_id bigint not null references public.author,
  tag public.genre,
  pages public.pages not null default 1,
  isbn text unique check (length(isbn) = 13),
  "list price" public.price,
  marks hidden.mark[],
  title_length int generated always as (length(title)) stored,
  title text not null
);
create table public.cover (
  book_id uuid primary key references public.book,
  design jsonb
);
create table public.shelf (room int, place int, note text, primary key (place, room));
create table public.copy (
  id int primary key,
  shelf_place int,
  shelf_room int,
  constraint "copy at shelf" foreign key (shelf_place, shelf_room) references public.shelf (place, room)
);
create table public.sale (day date not null, amount int) partition by range (day);
create table public.sale_2026 partition of public.sale for values from ('2026-01-01') to ('2027-01-01');
create table public.empty ();

create view public.novel as
  select id, author_id as writer, author_id as "same writer" from public.book where tag = 'novel';
create view public.novelist as
  select a.id as author, n.id as novel from public.author a join public.novel n on n.writer = a.id;
create materialized view public.author_count as select count(*) as n from public.author;
-- A name that looks like a field of the node tree the view is kept as.
create view public.hostile as select id as ":resno", author_id as "a b {(\" from public.book;

create function public.full_title(public.book) returns text language sql stable as 'select $1.title';
create function public.books_of(public.author) returns setof public.book language sql stable
  as 'select * from public.book where author_id = $1.id';
create function public.first_book(public.author) returns setof public.book rows 1 language sql stable
  as 'select * from public.book limit 1';
create function public.search(term text, most int default 10, variadic tags public.genre[] default '{}')
  returns table (title text, found public.genre) language sql stable
  as 'select title, tag from public.book';
create function public.rate(book uuid) returns hidden.mark language sql as $$select 'x'::hidden.mark$$;
create function public.pick(a int) returns int language sql as 'select 1';
create function public.pick(a text) returns text language sql as $$select 'x'$$;
create function public.take(json) returns void language sql as '';
create function public.note_change() returns trigger language plpgsql as 'begin return new; end';
create trigger "watch it" before insert or update of title on public.book
  for each row when (new.title <> '') execute function public.note_change('a', 'b''c', 'é');

alter table public.book enable row level security;
create policy "own books" on public.book as restrictive for update to authenticated, anon
  using (author_id = 1) with check (author_id = 1);
create index book_title on public.book (lower(title)) where pages > 10;
create publication catalogue for table public.book, public.author with (publish = 'insert, delete');
grant update (title) on public.book to anon;
insert into public.author (name) values ('Ann'), ('Bob');
