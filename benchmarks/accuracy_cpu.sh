#!/bin/bash
# Students of the present rule on CPUs: small teachers, pools and students over fifteen settings; hours on two cores.
#
#     bash benchmarks/accuracy_cpu.sh DATA SIGNALS BASE FOLDER
#
# DATA: folder of data sets (Parquet). SIGNALS: pools that the rule learns from, for weights that leave a data set out.
# BASE: a pretrained encoder. FOLDER: where teachers go; rows are added to benchmarks/results/accuracy-cpu.parquet.
# A setting NAME-12 is NAME with 12 % of the first teacher's texts.
set -e
DATA=$1 SIGNALS=$2 BASE=$3 FOLDER=$4
PYTHON=${PYTHON:-python} WEIGHTS=$FOLDER/weights

teach() { # NAME DATA_SET OPTIONS
    [ -e "$FOLDER/$1/seed-0/teachers.json" ] || "$PYTHON" benchmarks/train_teachers.py "$DATA/$2.parquet" --base "$BASE" \
        --freeze-embeddings --max-length 24 --batch-size 16 --pool-size 1500 --test-size 600 --out "$FOLDER/$1/seed-0" "${@:3}"
}
skew() { # NAME
    [ -e "$FOLDER/$1-12/seed-0/teachers.json" ] || "$PYTHON" benchmarks/mix_pool.py "$FOLDER/$1/seed-0" --keep 1 \
        --share 0.107 --out "$FOLDER/$1-12/seed-0"
}
students() { # NAME OPTIONS
    "$PYTHON" benchmarks/accuracy.py "$FOLDER/$1" --base "$BASE" --steps 150 --batch-size 16 --max-length 24 \
        --methods pool "single-pass entropy" oracle --results benchmarks/results/accuracy-cpu.parquet --one-pass "${@:2}"
}

[ -e "$WEIGHTS" ] || "$PYTHON" benchmarks/learn_selection.py --signals "$SIGNALS" --held-out "$WEIGHTS" --out "$FOLDER/learned.json"

teach trec-2 trec --steps 120
teach ag_news-2 ag_news --steps 120
teach bbc_news-2 bbc_news --steps 80
teach newsgroups20-2 newsgroups20 --steps 150
teach stackoverflow_titles-4 stackoverflow_titles --blocks 4 --steps 120
teach emotion-2 emotion --steps 150
teach hwu64-2 hwu64 --steps 150 --learning-rate 2e-4
teach clinc150-5 clinc150 --blocks 5 --steps 150 --learning-rate 4e-4
teach trec-3 trec --blocks 3 --steps 120
for name in trec-2 ag_news-2 bbc_news-2 newsgroups20-2 emotion-2 hwu64-2; do skew $name; done

students ag_news-2
students ag_news-2-12
students bbc_news-2
students bbc_news-2-12
for name in trec-2 trec-2-12 trec-3; do students $name --weights "$WEIGHTS/trec.json"; done
for name in newsgroups20-2 newsgroups20-2-12; do students $name --weights "$WEIGHTS/20ng.json"; done
students stackoverflow_titles-4 --weights "$WEIGHTS/so.json"
for name in emotion-2 emotion-2-12; do students $name --weights "$WEIGHTS/emotion.json"; done
for name in hwu64-2 hwu64-2-12; do students $name --weights "$WEIGHTS/hwu.json" --learning-rate 4e-4; done
students clinc150-5 --weights "$WEIGHTS/clinc.json" --learning-rate 4e-4
